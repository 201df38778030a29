// Drives the service with fhir-kit-client. Reads {baseUrl, token, document, refused, batch} from stdin, prints one JSON
// object of what the client saw; tests/foreign/test_fhir_kit_client.py judges it.
import { text } from 'node:stream/consumers';
import { Client } from 'fhir-kit-client';

const { baseUrl, token, document, refused, batch } = JSON.parse(await text(process.stdin));
const client = new Client(token ? { baseUrl, bearerToken: token } : { baseUrl });

async function failure(call) {
  try {
    await call();
    return null;
  } catch (error) {
    const response = Client.httpFor(error)?.response ?? error.response;
    return { status: error.response.status, data: error.response.data, type: response?.headers?.get?.('content-type') };
  }
}

const capability = await client.capabilityStatement();
const score = (input) => client.operation({ name: 'score', resourceType: 'DocumentReference', input });
const scored = await score(document);
const read = await client.read({ resourceType: 'RiskAssessment', id: scored.entry[0].resource.id });
const status = Client.httpFor(read).response.status;
const batched = await client.batch({ body: batch });

const pages = [];
let page = await client.search({
  resourceType: 'RiskAssessment',
  searchParams: { subject: document.subject.reference, _count: 2 },
});
while (page) {
  pages.push(page);
  page = await client.nextPage({ bundle: page });
}

const failures = {
  refused: await failure(() => score(refused)),
  absent: await failure(() => client.read({ resourceType: 'RiskAssessment', id: 'absent' })),
  search: await failure(() => client.search({ resourceType: 'RiskAssessment', searchParams: { nonsense: 1 } })),
  unknown: await failure(() => client.search({ resourceType: 'Observation' })),
  remove: await failure(() => client.delete({ resourceType: 'RiskAssessment', id: scored.entry[0].resource.id })),
};
console.log(JSON.stringify({ capability, scored, read, status, batched, pages, failures }));
