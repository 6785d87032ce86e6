import { Control, RemoveConfigRequest } from "@starling/api";
import { resolveConfig } from "../client/resolve.ts";
import { removing } from "../removing.ts";

export const remove = removing({
  argument: "<config...>",
  async find({ client }, reference) {
    const { id } = await resolveConfig(client, reference);
    return () => client.call(Control.methods.removeConfig, RemoveConfigRequest.create({ configId: id }));
  },
});
