import { Control, ListTasksRequest, ListTasksRequest_Filters, Service, TaskState } from "@starling/api";
import { taskNames } from "../client/names.ts";
import { resolveService } from "../client/resolve.ts";
import type { Context } from "../context.ts";
import { formatTable } from "../format/table.ts";
import { sortTasks, taskView } from "../format/tasks.ts";
import { inspecting } from "../inspecting.ts";
import { describeService } from "./describe.ts";
import { withoutCredentials } from "./registry-auth.ts";

interface Flags {
  readonly pretty?: boolean;
  readonly format?: string;
  readonly all?: boolean;
}

export const inspect = inspecting<Service, Flags>({
  argument: "<service...>",
  codec: Service,
  flags: [{ flags: "-a, --all", help: "With --pretty: show all tasks, not just running ones" }],
  find: async ({ client }, reference) => withoutCredentials(await resolveService(client, reference)),
  async pretty(service, context, flags) {
    return `${describeService(service)}\n${await taskTable(service, context, flags.all ?? false)}`;
  },
});

async function taskTable(service: Service, context: Context, all: boolean): Promise<string> {
  const filters = ListTasksRequest_Filters.create({ serviceIds: [service.id] });
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
