/** Checks of credential files and registry configuration: are they readable, and do they parse? */
import { describeError, toImgfsError } from '../../errors/imgfs-error.js';
import { registryConfig } from '../access.js';
import type { EndpointResolver } from '../../store/registry/endpoint.js';
import type { Settings } from '../settings.js';
import type { Finding } from './checks.js';

/** A host that nobody logs in to: looking it up reads every place there is. */
const probeHost = 'registry.invalid';

/** Credential files and registries.conf, each place in order. */
export async function checkAccess(settings: Settings): Promise<Finding[]> {
  const { credentials, endpoints } = registryConfig(settings);
  const { steps } = await credentials.explain(probeHost, undefined);
  const files = steps.map((step): Finding => ({
    subject: 'credentials',
    state: step.outcome === 'failed' ? 'warning' : 'note',
    detail: `${step.place}: ${step.outcome === 'no entry' ? 'readable' : (step.detail ?? step.outcome)}`,
    ...(step.outcome === 'failed' ? { nextStep: 'mend or remove that file' } : {}),
  }));
  return [...files, ...(await checkRegistries(endpoints))];
}

async function checkRegistries(endpoints: EndpointResolver): Promise<Finding[]> {
  const subject = 'registries';
  try {
    await endpoints.endpoints(probeHost, 'probe');
    return [{ subject, state: 'ok', detail: 'registries.conf, certs.d and hosts.toml can be read' }];
  } catch (error) {
    const known = toImgfsError(error);
    return [
      {
        subject,
        state: 'warning',
        detail: describeError(known).split('\n')[0] ?? known.message,
        ...(known.hint === undefined ? {} : { nextStep: known.hint }),
      },
    ];
  }
}
