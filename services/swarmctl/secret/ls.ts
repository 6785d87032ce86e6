import { Control, ListSecretsRequest, ListSecretsRequest_Filters } from "@starling/api";
import { type Command, type ListFlags, listFlags } from "../command.ts";
import { type FilterFlags, filterFlag, parseFilters } from "../flags/filter.ts";
import { fileObjectView } from "../format/file-object.ts";
import { formatList } from "../format/list.ts";

export const list: Command<ListFlags & FilterFlags> = {
  flags: [...listFlags, filterFlag("id, name, label")],
  async run({ client, clock, out }, _args, flags) {
    const { ids, names, labels } = parseFilters(flags.filter);
    const filters = ListSecretsRequest_Filters.create({ idPrefixes: ids, namePrefixes: names, labels });
    const { secrets } = await client.call(Control.methods.listSecrets, ListSecretsRequest.create({ filters }));
    const sorted = secrets.toSorted((a, b) => a.spec.annotations.name.localeCompare(b.spec.annotations.name));
    out(formatList(sorted, fileObjectView({ nowMs: clock.now(), whole: flags.trunc === false }), flags));
  },
};
