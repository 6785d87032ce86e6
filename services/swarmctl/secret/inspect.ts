import { Secret } from "@starling/api";
import { resolveSecret } from "../client/resolve.ts";
import { describeFileObject } from "../format/file-object.ts";
import { inspecting } from "../inspecting.ts";

export const inspect = inspecting<Secret>({
  argument: "<secret...>",
  codec: Secret,
  find: ({ client }, reference) => resolveSecret(client, reference),
  pretty: describeFileObject,
});
