import { Annotations, Control, CreateSecretRequest, Driver, SecretSpec } from "@starling/api";
import type { Command } from "../command.ts";
import { readData } from "../flags/data.ts";
import { parsePairs } from "../flags/values.ts";

interface CreateFlags {
  readonly file?: string;
  readonly driver?: string;
  readonly label?: readonly string[];
}

export const create: Command<CreateFlags> = {
  arguments: "<secret> [file]",
  flags: [
    { flags: "-f, --file <file>", help: "Read the secret from a file instead of standard input" },
    { flags: "-d, --driver <driver>", help: "Take the value from a secret driver" },
    { flags: "-l, --label <key=value>", help: "Secret label", list: true },
  ],
  notes: "FILE may be - for standard input.",
  async run(context, [name, path], flags) {
    const spec = SecretSpec.create({
      annotations: Annotations.create({ name: name!, labels: parsePairs(flags.label ?? []) }),
      ...(flags.driver === undefined
        ? { data: await readData(context, flags.file ?? path) }
        : { driver: Driver.create({ name: flags.driver }) }),
    });
    const { secret } = await context.client.call(Control.methods.createSecret, CreateSecretRequest.create({ spec }));
    context.out(`${secret!.id}\n`);
  },
};
