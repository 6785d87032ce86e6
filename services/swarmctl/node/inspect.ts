import {
  Control,
  ListTasksRequest,
  ListTasksRequest_Filters,
  Node,
  NodeRole,
  NodeSpec_Availability_names,
  NodeStatus_State_names,
  RaftMemberStatus_Reachability_names,
  TaskState,
} from "@starling/api";
import { taskNames } from "../client/names.ts";
import type { Context } from "../context.ts";
import { formatFields, formatTable } from "../format/table.ts";
import { sortTasks, taskView } from "../format/tasks.ts";
import { formatTimestamp } from "../format/time.ts";
import { formatGeneric, titled } from "../format/words.ts";
import { inspecting } from "../inspecting.ts";
import { resolveNodeOrSelf } from "./self.ts";

interface Flags {
  readonly pretty?: boolean;
  readonly format?: string;
  readonly all?: boolean;
}

export const inspect = inspecting<Node, Flags>({
  argument: "<node...>",
  codec: Node,
  flags: [{ flags: "-a, --all", help: "With --pretty: show all tasks, not just running ones" }],
  find: ({ client }, reference) => resolveNodeOrSelf(client, reference),
  async pretty(node, context, flags) {
    return `${describe(node)}\n${await taskTable(node, context, flags.all ?? false)}`;
  },
});

function describe({ id, meta, spec, description, status, managerStatus, role }: Node): string {
  const labels = Object.entries(spec.annotations.labels).map(([key, value]) => `${key}=${value}`);
  const { platform, resources, engine } = description ?? {};
  return formatFields([
    ["ID", id],
    ["Hostname", description?.hostname],
    ["Labels", labels.join(" ") || undefined],
    ["Joined at", formatTimestamp(meta.createdAt)],
    ["Role", role === NodeRole.MANAGER ? "Manager" : "Worker"],
    ["Status", ""],
    ["State", titled(NodeStatus_State_names[status.state]), 1],
    ["Message", status.message || undefined, 1],
    ["Availability", titled(NodeSpec_Availability_names[spec.availability]), 1],
    ["Address", status.addr || undefined, 1],
    ...(managerStatus
      ? ([
          ["Manager Status", ""],
          ["Address", managerStatus.addr, 1],
          ["Raft Status", titled(RaftMemberStatus_Reachability_names[managerStatus.reachability]), 1],
          ["Leader", managerStatus.leader ? "Yes" : "No", 1],
        ] as const)
      : []),
    ["Platform", platform && `${platform.os}/${platform.architecture}`],
    ["CPUs", resources && resources.nanoCpus / 1e9],
    ["Memory", resources && `${Math.round(resources.memoryBytes / 2 ** 20)} MiB`],
    ["Generic Resources", resources && formatGeneric(resources.generic)],
    ["Engine Version", engine?.engineVersion],
  ]);
}

async function taskTable(node: Node, context: Context, all: boolean): Promise<string> {
  const filters = ListTasksRequest_Filters.create({ nodeIds: [node.id] });
  const [names, { tasks }] = await Promise.all([
    taskNames(context),
    context.client.call(Control.methods.listTasks, ListTasksRequest.create({ filters })),
  ]);
  const shown = sortTasks(
    tasks.filter((task) => all || task.desiredState <= TaskState.COMPLETE),
    names,
  );
  const view = taskView(shown, names, { nowMs: context.clock.now() });
  return formatTable(view.heading, shown.map(view.row));
}
