import { ReplicatedService, type ServiceSpec } from "@starling/api";
import type { Command } from "../command.ts";
import { inFlag, parseCount } from "../flags/values.ts";
import { UsageError } from "../usage-error.ts";
import { changeService } from "./change.ts";
import { type WaitFlags, waitFlags, waitForConvergence } from "./progress.ts";

export const scale: Command<WaitFlags> = {
  arguments: "<service=replicas...>",
  flags: waitFlags,
  async run(context, args, flags) {
    const wanted = args.map(parseScale);
    const services = [];
    for (const { reference, replicas } of wanted) {
      services.push(await changeService(context, reference, (spec) => withReplicas(spec, replicas, reference)));
      context.out(`${reference} scaled to ${replicas}\n`);
    }
    if (flags.detach) return;
    for (const service of services) await waitForConvergence(context, service, flags);
  },
};

/** `web=3`. */
export function parseScale(text: string): { readonly reference: string; readonly replicas: number } {
  const at = text.lastIndexOf("=");
  if (at <= 0) throw new UsageError(`"${text}" names no number of replicas: write SERVICE=REPLICAS`);
  return { reference: text.slice(0, at), replicas: inFlag(`"${text}"`, () => parseCount(text.slice(at + 1))) };
}

function withReplicas(spec: ServiceSpec, replicas: number, reference: string): ServiceSpec {
  if (spec.replicatedJob) {
    return { ...spec, replicatedJob: { ...spec.replicatedJob, totalCompletions: replicas } };
  }
  if (!spec.replicated) {
    throw new UsageError(`service "${reference}" is global: scale is for replicated services only`);
  }
  return { ...spec, replicated: ReplicatedService.create({ ...spec.replicated, replicas }) };
}
