import type { NetworkAttachmentConfig } from "@starling/api";
import type { GrpcClient } from "../client/grpc-client.ts";
import { resolveConfig, resolveNetwork, resolveSecret } from "../client/resolve.ts";
import type { FileReference } from "../flags/file-reference.ts";
import { isOfCluster } from "./spec.ts";

/** Objects that a spec names, found on the cluster: by what the user wrote. */
export interface Lookup {
  readonly networks: ReadonlyMap<string, string>;
  readonly secrets: ReadonlyMap<string, Named>;
  readonly configs: ReadonlyMap<string, Named>;
}

export interface Named {
  readonly id: string;
  readonly name: string;
}

export const emptyLookup: Lookup = { networks: new Map(), secrets: new Map(), configs: new Map() };

/** Finds all that the flags name, at once. Throws NotFound or, for an ambiguous name, InvalidArgument. */
export async function lookUp(
  client: GrpcClient,
  wanted: {
    readonly networks: readonly NetworkAttachmentConfig[];
    readonly secrets: readonly Pick<FileReference, "source">[];
    readonly configs: readonly Pick<FileReference, "source">[];
  },
): Promise<Lookup> {
  const all = async <T>(names: readonly string[], find: (name: string) => Promise<T>) =>
    new Map(await Promise.all([...new Set(names)].map(async (name) => [name, await find(name)] as const)));
  const [networks, secrets, configs] = await Promise.all([
    all(
      wanted.networks.filter(isOfCluster).map(({ target }) => target),
      async (name) => (await resolveNetwork(client, name)).id,
    ),
    all(
      wanted.secrets.map(({ source }) => source),
      async (name) => named(await resolveSecret(client, name)),
    ),
    all(
      wanted.configs.map(({ source }) => source),
      async (name) => named(await resolveConfig(client, name)),
    ),
  ]);
  return { networks, secrets, configs };
}

function named(object: {
  readonly id: string;
  readonly spec: { readonly annotations: { readonly name: string } };
}): Named {
  return { id: object.id, name: object.spec.annotations.name };
}
