import {
  Annotations,
  Control,
  CreateSecretRequest,
  Driver,
  ListSecretsRequest,
  ListSecretsRequest_Filters,
  type Secret,
  SecretSpec,
  UpdateSecretRequest,
} from "@starling/api";
import { SwarmError } from "@starling/base/errors";
import { createOnce } from "../client/certain.ts";
import type { GrpcClient } from "../client/grpc-client.ts";
import { sameMessage } from "../client/same-message.ts";
import type { Command } from "../command.ts";
import { readData } from "../flags/data.ts";
import { parsePairs } from "../flags/values.ts";

interface CreateFlags {
  readonly file?: string;
  readonly driver?: string;
  readonly label?: readonly string[];
  readonly templateDriver?: string;
}

export const create: Command<CreateFlags> = {
  arguments: "<secret> [file]",
  flags: [
    { flags: "-f, --file <file>", help: "Read the secret from a file instead of standard input" },
    { flags: "-d, --driver <driver>", help: "Take the value from a secret driver" },
    { flags: "-l, --label <key=value>", help: "Secret label", list: true },
    { flags: "--template-driver <driver>", help: "golang: the secret is a template, expanded for each task" },
  ],
  notes: "FILE may be - for standard input.",
  async run(context, [name, path], flags) {
    const spec = SecretSpec.create({
      annotations: Annotations.create({ name: name!, labels: parsePairs(flags.label ?? []) }),
      ...(flags.driver === undefined
        ? { data: await readData(context, flags.file ?? path) }
        : { driver: Driver.create({ name: flags.driver }) }),
      ...(flags.templateDriver !== undefined && { templating: Driver.create({ name: flags.templateDriver }) }),
    });
    const { client } = context;
    const secret = await createOnce(context, {
      create: async () =>
        (await client.call(Control.methods.createSecret, CreateSecretRequest.create({ spec }))).secret!,
      find: async () => {
        const filters = ListSecretsRequest_Filters.create({ names: [name!] });
        return (await client.call(Control.methods.listSecrets, ListSecretsRequest.create({ filters }))).secrets[0];
      },
      isOurs: (found) => isOurs(client, found, spec),
    });
    context.out(`${secret.id}\n`);
  },
};

/** Managers never give a secret's value back, but refuse an update that has another one: one that changes nothing tells. */
async function isOurs(client: GrpcClient, found: Secret, spec: SecretSpec): Promise<boolean> {
  if (!sameMessage(SecretSpec, found.spec, { ...spec, data: new Uint8Array() })) return false;
  const request = UpdateSecretRequest.create({ secretId: found.id, secretVersion: found.meta.version, spec });
  try {
    await client.call(Control.methods.updateSecret, request);
    return true;
  } catch (thrown) {
    if (SwarmError.from(thrown).code === "InvalidArgument") return false;
    throw thrown;
  }
}
