import { Control, ListConfigsRequest, ListConfigsRequest_Filters } from "@starling/api";
import { type Command, type ListFlags, listFlags } from "../command.ts";
import { type FilterFlags, filterFlag, parseFilters } from "../flags/filter.ts";
import { fileObjectView } from "../format/file-object.ts";
import { formatList } from "../format/list.ts";

export const list: Command<ListFlags & FilterFlags> = {
  flags: [...listFlags, filterFlag("id, name, label")],
  async run({ client, clock, out }, _args, flags) {
    const { ids, names, labels } = parseFilters(flags.filter);
    const filters = ListConfigsRequest_Filters.create({ idPrefixes: ids, namePrefixes: names, labels });
    const { configs } = await client.call(Control.methods.listConfigs, ListConfigsRequest.create({ filters }));
    const sorted = configs.toSorted((a, b) => a.spec.annotations.name.localeCompare(b.spec.annotations.name));
    out(formatList(sorted, fileObjectView({ nowMs: clock.now(), whole: flags.trunc === false }), flags));
  },
};
