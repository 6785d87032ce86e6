import { Control, RemoveNodeRequest } from "@starling/api";
import { resolveNode } from "../client/resolve.ts";
import { removing } from "../removing.ts";

export const remove = removing<{ readonly force?: boolean }>({
  argument: "<node...>",
  flags: [{ flags: "-f, --force", help: "Remove a node that is not down" }],
  async find({ client }, reference, { force = false }) {
    const { id } = await resolveNode(client, reference);
    return () => client.call(Control.methods.removeNode, RemoveNodeRequest.create({ nodeId: id, force }));
  },
});
