import {
  Annotations,
  ConfigSpec,
  Control,
  CreateConfigRequest,
  Driver,
  ListConfigsRequest,
  ListConfigsRequest_Filters,
} from "@starling/api";
import { createOnce } from "../client/certain.ts";
import { sameMessage } from "../client/same-message.ts";
import type { Command } from "../command.ts";
import { readData } from "../flags/data.ts";
import { parsePairs } from "../flags/values.ts";

interface CreateFlags {
  readonly file?: string;
  readonly label?: readonly string[];
  readonly templateDriver?: string;
}

export const create: Command<CreateFlags> = {
  arguments: "<config> [file]",
  flags: [
    { flags: "-f, --file <file>", help: "Read the config from a file instead of standard input" },
    { flags: "-l, --label <key=value>", help: "Config label", list: true },
    { flags: "--template-driver <driver>", help: "golang: the config is a template, expanded for each task" },
  ],
  notes: "FILE may be - for standard input.",
  async run(context, [name, path], flags) {
    const spec = ConfigSpec.create({
      annotations: Annotations.create({ name: name!, labels: parsePairs(flags.label ?? []) }),
      data: await readData(context, flags.file ?? path),
      ...(flags.templateDriver !== undefined && { templating: Driver.create({ name: flags.templateDriver }) }),
    });
    const { client } = context;
    const config = await createOnce(context, {
      create: async () =>
        (await client.call(Control.methods.createConfig, CreateConfigRequest.create({ spec }))).config!,
      find: async () => {
        const filters = ListConfigsRequest_Filters.create({ names: [name!] });
        return (await client.call(Control.methods.listConfigs, ListConfigsRequest.create({ filters }))).configs[0];
      },
      isOurs: (found) => sameMessage(ConfigSpec, found.spec, spec),
    });
    context.out(`${config.id}\n`);
  },
};
