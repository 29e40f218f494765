/**
 * Counters and gauges of the process, in one registry, so that `.imgfs/metrics` and `.imgfs/stats.json` can
 * show them. Names follow Prometheus' conventions: `imgfs_<room>_<what>_<unit>[_total]`.
 */

export interface Counter {
  add(amount?: number): void;
  readonly value: number;
}

interface Metric {
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  read(): number;
}

const metrics = new Map<string, Metric>();

/** A number that only grows. Asking twice for one name gives the same counter. */
export function counter(name: string, help: string): Counter {
  const known = metrics.get(name);
  if (known !== undefined && 'counter' in known) return (known as Metric & { counter: Counter }).counter;
  let value = 0;
  const made: Counter = {
    add: (amount = 1) => {
      value += amount;
    },
    get value() {
      return value;
    },
  };
  metrics.set(name, { help, type: 'counter', read: () => value, counter: made } as Metric);
  return made;
}

/** A number read when it is asked for. The newest registration of a name wins. */
export function gauge(name: string, help: string, read: () => number): void {
  metrics.set(name, { help, type: 'gauge', read });
}

/** All values by name. */
export function snapshotMetrics(): Record<string, number> {
  return Object.fromEntries([...metrics].map(([name, metric]) => [name, metric.read()]));
}

/** Prometheus text exposition format 0.0.4. */
export function renderPrometheus(): string {
  const blocks = [...metrics].map(
    ([name, metric]) =>
      `# HELP ${name} ${metric.help}\n# TYPE ${name} ${metric.type}\n${name} ${metric.read()}\n`,
  );
  return blocks.join('');
}
