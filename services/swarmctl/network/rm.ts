import { Control, RemoveNetworkRequest } from "@starling/api";
import { resolveNetwork } from "../client/resolve.ts";
import { removing } from "../removing.ts";

export const remove = removing({
  argument: "<network...>",
  async find({ client }, reference) {
    const { id } = await resolveNetwork(client, reference);
    return () => client.call(Control.methods.removeNetwork, RemoveNetworkRequest.create({ networkId: id }));
  },
});
