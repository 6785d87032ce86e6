import { Config } from "@starling/api";
import { resolveConfig } from "../client/resolve.ts";
import { describeFileObject } from "../format/file-object.ts";
import { inspecting } from "../inspecting.ts";

export const inspect = inspecting<Config>({
  argument: "<config...>",
  codec: Config,
  find: ({ client }, reference) => resolveConfig(client, reference),
  pretty: describeFileObject,
});
