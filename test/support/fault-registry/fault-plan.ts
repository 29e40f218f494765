/** Which fault strikes which request: scripted ones first, in the order they were set, then the seeded ones. */
import type { Fault, FaultMatch, ScriptedFault } from './fault.js';
import type { RequestRecord } from './request.js';
import { createSeededFaults, type SeededFaults } from './seeded.js';

interface Armed extends ScriptedFault {
  seen: number;
  struck: number;
}

export interface FaultPlan {
  add(fault: ScriptedFault): void;
  seed(faults: SeededFaults | undefined): void;
  clear(): void;
  faultFor(request: RequestRecord): Fault | undefined;
}

function matches(match: FaultMatch, request: RequestRecord): boolean {
  if (match.role === undefined ? request.role === 'stranger' : match.role !== request.role) return false;
  if (match.method !== undefined && ![match.method].flat().includes(request.method)) return false;
  if (typeof match.path === 'string' && match.path !== request.path) return false;
  if (match.path instanceof RegExp && !match.path.test(request.path)) return false;
  return match.when?.(request) ?? true;
}

function strikes(armed: Armed, request: RequestRecord): boolean {
  const match = armed.match ?? {};
  if (!matches(match, request)) return false;
  armed.seen += 1;
  if (match.nth !== undefined && armed.seen < match.nth) return false;
  if (armed.struck >= (match.times ?? (match.nth === undefined ? Infinity : 1))) return false;
  armed.struck += 1;
  return true;
}

export function createFaultPlan(): FaultPlan {
  let scripted: Armed[] = [];
  let seeded: ((request: RequestRecord) => Fault | undefined) | undefined;
  return {
    add: (fault) => void scripted.push({ ...fault, seen: 0, struck: 0 }),
    seed: (faults) => {
      seeded = faults === undefined ? undefined : createSeededFaults(faults);
    },
    clear: () => {
      scripted = [];
      seeded = undefined;
    },
    faultFor: (request) => {
      // Every script counts the request, also when an earlier one strikes: `nth` means what it says.
      const struck = scripted.filter((armed) => strikes(armed, request));
      return struck[0]?.fault ?? seeded?.(request);
    },
  };
}
