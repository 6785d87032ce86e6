import { UpdateServiceRequest_Rollback } from "@starling/api";
import type { Command } from "../command.ts";
import { changeService } from "./change.ts";
import { type WaitFlags, waitFlags, waitForConvergence } from "./progress.ts";

export const rollback: Command<WaitFlags> = {
  arguments: "<service>",
  flags: waitFlags,
  async run(context, [reference], flags) {
    const rollingBack = { rollback: UpdateServiceRequest_Rollback.PREVIOUS };
    const service = await changeService(context, reference!, (spec) => spec, rollingBack);
    context.out(`${reference}\n`);
    if (!flags.detach) await waitForConvergence(context, service, { ...flags, rollback: true });
  },
};
