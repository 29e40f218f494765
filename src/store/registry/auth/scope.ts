/** Token scopes (distribution's "Token Scope Documentation"): `type:name:action,action`. */

/** What is to be done with a repository. `everything` asks for `*`: Quay gives no token at all for `delete`. */
export type Access = 'pull' | 'push' | 'everything';

/** Scope for a repository. */
export function repositoryScope(repository: string, access: Access): string {
  const actions = access === 'pull' ? 'pull' : access === 'push' ? 'pull,push' : '*';
  return `repository:${repository}:${actions}`;
}

/** Scope for the list of repositories. */
export const catalogScope = 'registry:catalog:*';

/** Split the `scope` of a challenge, with a bound on what a server may make us ask for. */
export function splitScopes(text: string): readonly string[] {
  return text
    .split(/\s+/)
    .filter((scope) => scope !== '')
    .slice(0, 16);
}
