import { UpdateServiceRequest_Rollback } from "@starling/api";
import type { Command } from "../command.ts";
import { UsageError } from "../usage-error.ts";
import { changeService } from "./change.ts";
import { withEnvFiles } from "./create.ts";
import { configOf } from "./credential-spec.ts";
import { withEdits } from "./edit.ts";
import { type EditFlags, editFlags } from "./edit-flags.ts";
import { type ServiceFlags, serviceFlags } from "./flags.ts";
import { lookUp } from "./lookup.ts";
import { type WaitFlags, waitFlags, waitForConvergence } from "./progress.ts";
import { registryAuthFor } from "./registry-auth.ts";
import { digestWarning, type ResolveFlags, resolveFlags, resolveMetadata } from "./resolve-image.ts";
import { withServiceFlags } from "./spec.ts";

export type UpdateFlags = ServiceFlags & EditFlags & ResolveFlags & WaitFlags & { readonly rollback?: boolean };

export const update: Command<UpdateFlags> = {
  arguments: "<service>",
  flags: [
    ...serviceFlags,
    ...editFlags,
    { flags: "--rollback", help: "Go back to the previous spec" },
    ...resolveFlags,
    ...waitFlags,
  ],
  notes: "A flag without -add or -rm replaces the whole list that it names.",
  async run(context, args, flags) {
    const [reference] = args;
    if (
      flags.rollback &&
      Object.keys(flags).some((flag) => !["rollback", "detach", "quiet", "waitTimeout"].includes(flag))
    ) {
      throw new UsageError("--rollback excludes flags that change the spec");
    }
    const given = withEnvFiles(flags);
    const lookup = await lookUp(context.client, {
      networks: [
        ...(given.network ?? []),
        ...(given.networkAdd ?? []),
        ...(given.networkRm ?? []).map((target) => ({ target, aliases: [], addresses: [], driverAttachmentOpts: {} })),
      ],
      secrets: [...(given.secret ?? []), ...(given.secretAdd ?? []), ...(given.addSecret ?? [])],
      configs: [
        ...(given.config ?? []),
        ...configOf(given.credentialSpec),
        ...(given.configAdd ?? []),
        ...(given.addConfig ?? []),
      ],
    });
    const withAuth = await registryAuthFor(given);
    const rollback = given.rollback ? UpdateServiceRequest_Rollback.PREVIOUS : undefined;
    const service = await changeService(
      context,
      reference!,
      (spec) => (given.rollback ? spec : withAuth(withEdits(withServiceFlags(spec, given, lookup), given, lookup))),
      { rollback, metadata: resolveMetadata(given) },
    );
    if (given.image !== undefined || given.force) context.err(digestWarning(service, given));
    context.out(`${reference}\n`);
    if (!flags.detach) {
      await waitForConvergence(context, service, {
        quiet: flags.quiet,
        waitTimeout: flags.waitTimeout,
        rollback: given.rollback ?? false,
      });
    }
  },
};
