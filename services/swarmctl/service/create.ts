import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import {
  Control,
  CreateServiceRequest,
  ListServicesRequest,
  ListServicesRequest_Filters,
  parseImageReference,
  ServiceSpec,
} from "@starling/api";
import { createOnce } from "../client/certain.ts";
import { sameMessage } from "../client/same-message.ts";
import type { Command } from "../command.ts";
import { UsageError } from "../usage-error.ts";
import { configOf } from "./credential-spec.ts";
import { type ServiceFlags, serviceFlags } from "./flags.ts";
import { lookUp } from "./lookup.ts";
import { newServiceSpec } from "./mode.ts";
import { type WaitFlags, waitFlags, waitForConvergence } from "./progress.ts";
import { registryAuthFor } from "./registry-auth.ts";
import { asSent, digestWarning, type ResolveFlags, resolveFlags, resolveMetadata } from "./resolve-image.ts";
import { withServiceFlags } from "./spec.ts";

export type CreateFlags = ServiceFlags & ResolveFlags & WaitFlags;

export const create: Command<CreateFlags> = {
  arguments: "[image] [args...]",
  flags: [
    ...serviceFlags,
    { flags: "--mode <mode>", help: "replicated (default), global, replicated-job or global-job" },
    ...resolveFlags,
    ...waitFlags,
  ],
  passThrough: true,
  notes: "Flags stand before IMAGE; what follows it are the container's arguments.",
  async run(context, args, flags) {
    const { client } = context;
    const given = withPositionals(flags, args);
    const lookup = await lookUp(client, {
      networks: given.network ?? [],
      secrets: given.secret ?? [],
      configs: [...(given.config ?? []), ...configOf(given.credentialSpec)],
    });
    const withAuth = await registryAuthFor(given);
    const spec = withAuth(withServiceFlags(newServiceSpec(given.mode), given, lookup));
    const { name } = spec.annotations;
    const metadata = resolveMetadata(flags);
    const service = await createOnce(context, {
      create: async () =>
        (await client.call(Control.methods.createService, CreateServiceRequest.create({ spec }), { metadata }))
          .service!,
      find: async () => {
        const filters = ListServicesRequest_Filters.create({ names: [name] });
        return (await client.call(Control.methods.listServices, ListServicesRequest.create({ filters }))).services[0];
      },
      isOurs: (found) => sameMessage(ServiceSpec, asSent(found.spec, spec), spec),
    });
    context.err(digestWarning(service, flags));
    context.out(`${service.id}\n`);
    if (!flags.detach) await waitForConvergence(context, service, flags);
  },
};

/** The flags with IMAGE [ARG…] and environment files taken in, and a name if there is none. */
export function withPositionals(flags: CreateFlags, args: readonly string[]): CreateFlags {
  const [image, rest] = flags.image === undefined ? [args[0], args.slice(1)] : [flags.image, args];
  if (image === undefined) throw new UsageError("service create needs an image: swarmctl service create [flags] IMAGE");
  return {
    ...withEnvFiles(flags),
    image,
    name: flags.name ?? generatedName(image),
    ...(rest.length > 0 ? { args: [...(flags.args ?? []), ...rest] } : {}),
  };
}

/** Variables of the files first, so that `--env` has the last word. */
export function withEnvFiles<F extends ServiceFlags>(flags: F): F {
  if (!flags.envFile) return flags;
  return { ...flags, env: [...flags.envFile.flatMap(readEnvFile), ...(flags.env ?? [])] };
}

function readEnvFile(path: string): string[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (thrown) {
    throw new UsageError(`--env-file: ${(thrown as Error).message}`);
  }
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
}

const nameDigits = 36;

/** `10.0.0.2:5000/team/web:1` → `web-k3f9x`. */
function generatedName(image: string): string {
  const base = parseImageReference(image).path.split("/").at(-1)!.replaceAll(".", "-");
  return `${base}-${Array.from({ length: 5 }, () => randomInt(nameDigits).toString(nameDigits)).join("")}`;
}
