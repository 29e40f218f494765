/** The fault registry, for tests: see registry.ts. */
export { startFaultRegistry, type FaultRegistry, type RequestFilter } from './registry.js';
export type { FaultRegistryOptions, AuthOptions, BearerAuth, RedirectOptions } from './options.js';
export type { Fault, FaultKind, FaultMatch, ScriptedFault } from './fault.js';
export type { RequestRecord, ServerRole } from './request.js';
export { seededKinds, type SeededFaults, type SeededKind } from './seeded.js';
export { testCertificates, type TestCertificates } from './certificates.js';
export { bytesContent, type BlobContent } from './content.js';
