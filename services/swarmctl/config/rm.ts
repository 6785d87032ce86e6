import { Control, RemoveConfigRequest } from "@starling/api";
import { resolveConfig } from "../client/resolve.ts";
import { removing } from "../removing.ts";

export const remove = removing({
  argument: "<config...>",
  async remove({ client }, reference) {
    const { id } = await resolveConfig(client, reference);
    await client.call(Control.methods.removeConfig, RemoveConfigRequest.create({ configId: id }));
  },
});
