import { Task, taskStateName } from "@starling/api";
import { taskNames } from "../client/names.ts";
import { resolveTask } from "../client/resolve.ts";
import { formatFields } from "../format/table.ts";
import { shortTaskName } from "../format/tasks.ts";
import { formatTimestamp } from "../format/time.ts";
import { titled } from "../format/words.ts";
import { inspecting } from "../inspecting.ts";
import { taskWithoutCredentials } from "../service/registry-auth.ts";

export const inspect = inspecting<Task>({
  argument: "<task...>",
  codec: Task,
  async find({ client }, reference) {
    const task = await resolveTask(client, reference);
    return { ...task, spec: taskWithoutCredentials(task.spec) };
  },
  async pretty(task, context) {
    const names = await taskNames(context);
    const { status } = task;
    return formatFields([
      ["ID", task.id],
      ["Name", shortTaskName(task, names)],
      ["Service", names.service(task.serviceId, task)],
      ["Node", names.node(task.nodeId)],
      ["Image", task.spec.container?.image],
      ["Desired State", titled(taskStateName(task.desiredState))],
      ["Status", ""],
      ["State", titled(taskStateName(status.state)), 1],
      ["Message", status.message, 1],
      ["Error", status.err || undefined, 1],
      ["Since", formatTimestamp(status.timestamp), 1],
      ["Container", status.container?.containerId || undefined, 1],
      ["PID", status.container?.pid || undefined, 1],
      ["Exit code", status.container?.exitCode, 1],
      ...task.networks.map(
        ({ network, addresses }) => ["Network", `${network?.spec.annotations.name} ${addresses.join(" ")}`] as const,
      ),
    ]);
  },
});
