import { Control, ListClustersRequest } from "@starling/api";
import { type Command, type ListFlags, listFlags } from "../command.ts";
import { formatList } from "../format/list.ts";
import { formatAge, formatTimestamp } from "../format/time.ts";
import { shortId } from "../format/words.ts";

export const list: Command<ListFlags> = {
  flags: listFlags,
  async run({ client, clock, out }, _args, flags) {
    const { clusters } = await client.call(Control.methods.listClusters, ListClustersRequest.create());
    out(
      formatList(
        clusters,
        {
          heading: ["ID", "NAME", "CREATED"],
          id: ({ id }) => id,
          row: ({ id, meta, spec }) => [
            shortId(id, flags.trunc === false),
            spec.annotations.name,
            formatAge(meta.createdAt, clock.now()),
          ],
          json: ({ id, meta, spec }) => ({
            id,
            name: spec.annotations.name,
            createdAt: formatTimestamp(meta.createdAt),
            updatedAt: formatTimestamp(meta.updatedAt),
          }),
        },
        flags,
      ),
    );
  },
};
