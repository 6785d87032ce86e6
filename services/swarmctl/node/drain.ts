import {
  Control,
  type Duration,
  durationMs,
  isTerminal,
  ListTasksRequest,
  ListTasksRequest_Filters,
  NodeSpec_Availability,
  type Task,
  TaskState,
  taskStateName,
} from "@starling/api";
import { SwarmError } from "@starling/base/errors";
import { taskNames } from "../client/names.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { parseDuration } from "../flags/values.ts";
import { shortTaskName } from "../format/tasks.ts";
import { forEach } from "../removing.ts";
import { changeNode } from "./change.ts";

interface DrainFlags {
  readonly wait?: boolean;
  readonly waitTimeout?: Duration;
}

const pollMs = 200;
/** Tasks named when time is over. */
const namedMax = 3;

export const drain: Command<DrainFlags> = {
  arguments: "<node...>",
  flags: [
    { flags: "-w, --wait", help: "Return when no task of the nodes is left running" },
    {
      flags: "--wait-timeout <duration>",
      help: "Give up waiting after this long; implies --wait",
      parse: parseDuration,
    },
  ],
  run: (context, args, flags) =>
    forEach(context, args, async (reference) => {
      const spec = { availability: NodeSpec_Availability.DRAIN };
      const { id } = await changeNode(context, reference, (present) => ({ ...present, ...spec }));
      if (flags.wait || flags.waitTimeout) await waitUntilEmpty(context, reference, id, flags.waitTimeout);
    }),
};

/** Throws DeadlineExceeded naming what is left. */
async function waitUntilEmpty(
  context: Context,
  reference: string,
  nodeId: string,
  timeout: Duration | undefined,
): Promise<void> {
  const { client, clock, signal } = context;
  const deadlineMs = clock.monotonic() + durationMs(timeout, Number.POSITIVE_INFINITY);
  for (;;) {
    const filters = ListTasksRequest_Filters.create({ nodeIds: [nodeId] });
    const { tasks } = await client.call(Control.methods.listTasks, ListTasksRequest.create({ filters }), { signal });
    const left = tasks.filter(({ status: { state } }) => state >= TaskState.ASSIGNED && !isTerminal(state));
    if (left.length === 0) return;
    if (clock.monotonic() >= deadlineMs) throw await notInTime(context, reference, left);
    await clock.sleep(pollMs, signal);
  }
}

async function notInTime(context: Context, reference: string, left: readonly Task[]): Promise<SwarmError> {
  const names = await taskNames(context);
  const named = left
    .slice(0, namedMax)
    .map((task) => `${shortTaskName(task, names)} (${taskStateName(task.status.state).toLowerCase()})`);
  const more = left.length > namedMax ? ` and ${left.length - namedMax} more` : "";
  return new SwarmError(
    "DeadlineExceeded",
    `node ${reference} is not empty in time: ${named.join(", ")}${more}: it stays drained, see swarmctl node ps ${reference}`,
  );
}
