import { Annotations, ConfigSpec, Control, CreateConfigRequest } from "@starling/api";
import type { Command } from "../command.ts";
import { readData } from "../flags/data.ts";
import { parsePairs } from "../flags/values.ts";

interface CreateFlags {
  readonly file?: string;
  readonly label?: readonly string[];
}

export const create: Command<CreateFlags> = {
  arguments: "<config> [file]",
  flags: [
    { flags: "-f, --file <file>", help: "Read the config from a file instead of standard input" },
    { flags: "-l, --label <key=value>", help: "Config label", list: true },
  ],
  notes: "FILE may be - for standard input.",
  async run(context, [name, path], flags) {
    const spec = ConfigSpec.create({
      annotations: Annotations.create({ name: name!, labels: parsePairs(flags.label ?? []) }),
      data: await readData(context, flags.file ?? path),
    });
    const { config } = await context.client.call(Control.methods.createConfig, CreateConfigRequest.create({ spec }));
    context.out(`${config!.id}\n`);
  },
};
