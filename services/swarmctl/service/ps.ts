import { Control, ListTasksRequest, ListTasksRequest_Filters } from "@starling/api";
import { taskNames } from "../client/names.ts";
import { resolveService } from "../client/resolve.ts";
import { type Command, type ListFlags, listFlags } from "../command.ts";
import { type FilterFlags, filterFlag, parseFilters } from "../flags/filter.ts";
import { desiredStates, nodeFilter } from "../flags/task-filter.ts";
import { formatList } from "../format/list.ts";
import { sortTasks, taskView } from "../format/tasks.ts";

export const ps: Command<ListFlags & FilterFlags> = {
  arguments: "<service...>",
  flags: [...listFlags, filterFlag("id, name, node, desired-state=running|shutdown|accepted")],
  async run(context, args, flags) {
    const { client } = context;
    const { ids, names: namePrefixes, other } = parseFilters(flags.filter, ["node", "desired-state"]);
    const [names, services, nodeIds] = await Promise.all([
      taskNames(context),
      Promise.all(args.map((reference) => resolveService(client, reference))),
      nodeFilter(client, other["node"]),
    ]);
    const filters = ListTasksRequest_Filters.create({
      serviceIds: services.map(({ id }) => id),
      idPrefixes: ids,
      namePrefixes,
      nodeIds,
      desiredStates: desiredStates(other["desired-state"]),
    });
    const { tasks } = await client.call(Control.methods.listTasks, ListTasksRequest.create({ filters }));
    const sorted = sortTasks(tasks, names);
    const view = taskView(sorted, names, { nowMs: context.clock.now(), whole: flags.trunc === false });
    context.out(formatList(sorted, view, flags));
  },
};
