import {
  Control,
  GetServiceRequest,
  ListServiceStatusesRequest,
  ListTasksRequest,
  ListTasksRequest_Filters,
  type Service,
  timestampMs,
} from "@starling/api";
import { SwarmError } from "@starling/base/errors";
import type { FlagDefinition } from "../command.ts";
import type { Context } from "../context.ts";
import { type Assessment, assess, type Expectation, type Sighting } from "./assess.ts";
import { ProgressDisplay } from "./progress-display.ts";

export const waitFlags: readonly FlagDefinition[] = [
  { flags: "-d, --detach", help: "Return at once instead of waiting for the service to converge" },
  { flags: "-q, --quiet", help: "Show no progress while waiting" },
];

export interface WaitFlags {
  readonly detach?: boolean;
  readonly quiet?: boolean;
}

const pollMs = 100;
/** Converged for this long counts as stable. */
const stableMs = 1_000;
/** A slot whose last task ended and was not replaced for this long will stay so. */
const deadMs = 2_000;
/** How long the managers may be without a leader while we wait. */
const outageMs = 30_000;

/**
 * Waits until the service has converged and stayed so for a second, showing its progress. `service` is what the create
 * or update answered with. Throws FailedPrecondition with the reason when it won't converge: it stays deployed.
 */
export async function waitForConvergence(
  context: Context,
  service: Service,
  options: { readonly quiet?: boolean | undefined; readonly rollback?: boolean } = {},
): Promise<void> {
  const { clock } = context;
  const name = service.spec.annotations.name;
  const expectation: Expectation = {
    sinceMs: service.meta.updatedAt ? timestampMs(service.meta.updatedAt) : 0,
    rollback: options.rollback ?? false,
  };
  const display = options.quiet ? undefined : new ProgressDisplay(context);
  let convergedSince: number | undefined;
  let deadSince: number | undefined;
  let lastAnswer = clock.monotonic();
  try {
    for (;;) {
      const before = clock.monotonic();
      const sighting = await look(context, service.id, before - lastAnswer < outageMs);
      const now = clock.monotonic();
      if (sighting) {
        lastAnswer = now;
        const assessment = assess(sighting, expectation);
        display?.show(assessment);
        if (assessment.verdict === "failed") throw notConverging(name, assessment.reason);
        convergedSince = assessment.verdict === "converged" ? (convergedSince ?? now) : undefined;
        if (convergedSince !== undefined && now - convergedSince >= stableMs) break;
        const dead = assessment.slots.find((slot) => slot.dead);
        deadSince = dead && assessment.verdict === "going" ? (deadSince ?? now) : undefined;
        if (dead && deadSince !== undefined && now - deadSince >= deadMs) {
          throw notConverging(name, `task ${dead.name} ended and is not restarted: ${dead.error || dead.state}`);
        }
      }
      // A large service costs more to look at: then looks are rarer.
      await clock.sleep(Math.max(pollMs, 10 * (now - before)), context.signal);
    }
    display?.end(`verify: Service ${name} converged`);
  } catch (thrown) {
    display?.end();
    if (context.signal.aborted) {
      context.err(`\nOperation continuing in background.\nUse \`swarmctl service ps ${name}\` to check progress.\n`);
    }
    throw thrown;
  }
}

/** Undefined when the managers have no leader just now and `patient`. */
async function look({ client, signal }: Context, id: string, patient: boolean): Promise<Sighting | undefined> {
  try {
    const [{ service }, { tasks }] = await Promise.all([
      client.call(Control.methods.getService, GetServiceRequest.create({ serviceId: id }), { signal }),
      client.call(
        Control.methods.listTasks,
        ListTasksRequest.create({ filters: ListTasksRequest_Filters.create({ serviceIds: [id], upToDate: true }) }),
        { signal },
      ),
    ]);
    const seen = service!;
    return { service: seen, tasks, wanted: fixedCount(seen) ?? (await globalCount(client, id, signal)) };
  } catch (thrown) {
    const { code } = SwarmError.from(thrown);
    if (patient && (code === "Unavailable" || code === "DeadlineExceeded") && !signal.aborted) return undefined;
    throw thrown;
  }
}

function fixedCount({ spec }: Service): number | undefined {
  return spec.replicated?.replicas ?? spec.replicatedJob?.totalCompletions;
}

/** Global services want a task per fitting node; at least one is awaited, since right after a create there is none. */
async function globalCount(client: Context["client"], id: string, signal: AbortSignal): Promise<number> {
  const { statuses } = await client.call(
    Control.methods.listServiceStatuses,
    ListServiceStatusesRequest.create({ services: [id] }),
    { signal },
  );
  const { desiredTasks = 0, completedTasks = 0 } = statuses[0] ?? {};
  return Math.max(1, desiredTasks + completedTasks);
}

function notConverging(name: string, reason: Assessment["reason"]): SwarmError {
  return new SwarmError(
    "FailedPrecondition",
    `service ${name} does not converge: ${reason}: see swarmctl service ps ${name}`,
  );
}
