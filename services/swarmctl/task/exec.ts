import {
  Control,
  ListTasksRequest,
  ListTasksRequest_Filters,
  type Task,
  TaskState,
  taskStateName,
} from "@starling/api";
import { SwarmError } from "@starling/base/errors";
import type { GrpcClient } from "../client/grpc-client.ts";
import { resolveService, resolveTask } from "../client/resolve.ts";
import type { Command } from "../command.ts";
import { type ExecFlags, execFlags, execIn, execNotes } from "./exec-in.ts";

export const exec: Command<ExecFlags> = {
  arguments: "<task> <command> [args...]",
  flags: execFlags,
  passThrough: true,
  notes: execNotes,
  async run(context, [reference, ...command], flags) {
    await execIn(context, await runningTask(context.client, reference!), command, flags);
  },
};

/** The task of this id, name, or (the one that runs) `service.slot`. Throws FailedPrecondition when it does not run. */
async function runningTask(client: GrpcClient, reference: string): Promise<Task> {
  const slot = /^(.+)\.(\d+)$/.exec(reference);
  try {
    return mustRun(await resolveTask(client, reference));
  } catch (thrown) {
    if (slot === null || SwarmError.from(thrown).code !== "NotFound") throw thrown;
  }
  const service = await resolveService(client, slot[1]!);
  return await runningTaskOf(client, service.id, {
    what: `slot ${slot[2]} of service ${slot[1]}`,
    matches: (task) => task.slot === Number(slot[2]),
  });
}

/** The first running task of a service that `matches`. Throws FailedPrecondition saying what the newest one does instead. */
export async function runningTaskOf(
  client: GrpcClient,
  serviceId: string,
  wanted: { readonly what: string; matches(task: Task): boolean },
): Promise<Task> {
  const filters = ListTasksRequest_Filters.create({ serviceIds: [serviceId] });
  const { tasks } = await client.call(Control.methods.listTasks, ListTasksRequest.create({ filters }));
  const found = tasks
    .filter((task) => wanted.matches(task))
    .toSorted((a, b) => a.slot - b.slot || a.nodeId.localeCompare(b.nodeId));
  const running = found.find(({ status }) => status.state === TaskState.RUNNING);
  if (running) return running;
  const newest = found.toSorted((a, b) => b.meta.version.index - a.meta.version.index)[0];
  if (newest) mustRun(newest);
  throw new SwarmError("FailedPrecondition", `${wanted.what} has no task that runs: see swarmctl service ps`);
}

function mustRun(task: Task): Task {
  const { state, err, message } = task.status;
  if (state === TaskState.RUNNING) return task;
  const why = err || message;
  throw new SwarmError(
    "FailedPrecondition",
    `task ${task.id} does not run: it is ${taskStateName(state).toLowerCase()}${why && `: ${why}`}`,
  );
}
