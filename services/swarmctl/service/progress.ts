import {
  Control,
  type Duration,
  durationMs,
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
import { parseDuration } from "../flags/values.ts";
import { type Assessment, assess, type Expectation, type Sighting } from "./assess.ts";
import { Judge } from "./judge.ts";
import { ProgressDisplay } from "./progress-display.ts";

export const waitFlags: readonly FlagDefinition[] = [
  { flags: "-d, --detach", help: "Return at once instead of waiting for the service to converge" },
  { flags: "-q, --quiet", help: "Show no progress while waiting" },
  {
    flags: "--wait-timeout <duration>",
    help: "Give up waiting after this long, with the reason; the service goes on",
    parse: parseDuration,
  },
];

export interface WaitFlags {
  readonly detach?: boolean;
  readonly quiet?: boolean;
  readonly waitTimeout?: Duration;
}

const pollMs = 100;
/** How long the managers may be without a leader while we wait. */
const outageMs = 30_000;

/**
 * Waits until the service has converged and stayed so for a second, showing its progress. `service` is what the create
 * or update answered with. Throws FailedPrecondition with the reason when it won't converge: it stays deployed.
 */
export async function waitForConvergence(
  context: Context,
  service: Service,
  options: {
    readonly quiet?: boolean | undefined;
    readonly rollback?: boolean;
    readonly waitTimeout?: Duration | undefined;
  } = {},
): Promise<void> {
  const { clock } = context;
  const name = service.spec.annotations.name;
  const expectation: Expectation = {
    sinceMs: service.meta.updatedAt ? timestampMs(service.meta.updatedAt) : 0,
    rollback: options.rollback ?? false,
  };
  const display = options.quiet ? undefined : new ProgressDisplay(context);
  const judge = new Judge();
  let answeredMs = clock.monotonic();
  const deadlineMs = answeredMs + durationMs(options.waitTimeout, Number.POSITIVE_INFINITY);
  try {
    for (;;) {
      const beforeMs = clock.monotonic();
      const sighting = await look(context, service.id, beforeMs - answeredMs < outageMs);
      const nowMs = clock.monotonic();
      if (sighting) answeredMs = nowMs;
      const assessment = sighting && assess(sighting, expectation);
      if (assessment) display?.show(assessment);
      const judgement = judge.judge(assessment, nowMs);
      if (judgement.t === "converged") break;
      if (judgement.t === "failed") throw notConverging(name, judgement.reason);
      if (nowMs >= deadlineMs) throw notInTime(name, assessment);
      // A large service costs more to look at: then looks are rarer.
      await clock.sleep(Math.max(pollMs, 10 * (nowMs - beforeMs)), context.signal);
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

/** The service goes on; what it still lacks is told. */
function notInTime(name: string, assessment: Assessment | undefined): SwarmError {
  const waiting = assessment?.slots.find((slot) => slot.error !== "");
  const reason = waiting ? `task ${waiting.name} is ${waiting.state}: ${waiting.error}` : assessment?.reason;
  const count = assessment ? `${assessment.done} of ${assessment.wanted} tasks` : "the managers did not answer";
  return new SwarmError(
    "DeadlineExceeded",
    `service ${name} has not converged in time: ${count}${reason ? `: ${reason}` : ""}: see swarmctl service ps ${name}`,
  );
}

function notConverging(name: string, reason: string): SwarmError {
  return new SwarmError(
    "FailedPrecondition",
    `service ${name} does not converge: ${reason}: see swarmctl service ps ${name}`,
  );
}
