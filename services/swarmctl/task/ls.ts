import { Control, ListTasksRequest, ListTasksRequest_Filters, TaskState } from "@starling/api";
import { taskNames } from "../client/names.ts";
import { type Command, type ListFlags, listFlags } from "../command.ts";
import { formatList } from "../format/list.ts";
import { sortTasks, taskView } from "../format/tasks.ts";

export const list: Command<ListFlags & { readonly all?: boolean }> = {
  flags: [...listFlags, { flags: "-a, --all", help: "Show all tasks, not just those that shall run" }],
  async run(context, _args, flags) {
    const filters = ListTasksRequest_Filters.create({
      desiredStates: flags.all ? [] : [TaskState.NEW, TaskState.READY, TaskState.RUNNING, TaskState.COMPLETE],
    });
    const [names, { tasks }] = await Promise.all([
      taskNames(context),
      context.client.call(Control.methods.listTasks, ListTasksRequest.create({ filters })),
    ]);
    const sorted = sortTasks(tasks, names);
    const view = taskView(sorted, names, { nowMs: context.clock.now(), whole: flags.trunc === false });
    context.out(formatList(sorted, view, flags));
  },
};
