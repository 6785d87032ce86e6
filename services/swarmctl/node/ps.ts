import { Control, ListTasksRequest, ListTasksRequest_Filters } from "@starling/api";
import { taskNames } from "../client/names.ts";
import { type Command, type ListFlags, listFlags } from "../command.ts";
import { type FilterFlags, filterFlag, parseFilters } from "../flags/filter.ts";
import { desiredStates } from "../flags/task-filter.ts";
import { formatList } from "../format/list.ts";
import { sortTasks, taskView } from "../format/tasks.ts";
import { resolveNodeOrSelf } from "./self.ts";

export const ps: Command<ListFlags & FilterFlags> = {
  arguments: "[node...]",
  flags: [...listFlags, filterFlag("id, name, label, desired-state=running|shutdown|accepted")],
  notes: "Without a node: the one with this host's name.",
  async run(context, args, flags) {
    const { client } = context;
    const { ids, names: namePrefixes, labels, other } = parseFilters(flags.filter, ["desired-state"]);
    const [names, nodes] = await Promise.all([
      taskNames(context),
      Promise.all((args.length > 0 ? args : ["self"]).map((reference) => resolveNodeOrSelf(client, reference))),
    ]);
    const filters = ListTasksRequest_Filters.create({
      nodeIds: nodes.map(({ id }) => id),
      idPrefixes: ids,
      namePrefixes,
      labels,
      desiredStates: desiredStates(other["desired-state"]),
    });
    const { tasks } = await client.call(Control.methods.listTasks, ListTasksRequest.create({ filters }));
    const sorted = sortTasks(tasks, names);
    const view = taskView(sorted, names, { nowMs: context.clock.now(), whole: flags.trunc === false });
    context.out(formatList(sorted, view, flags));
  },
};
