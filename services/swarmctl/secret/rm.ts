import { Control, RemoveSecretRequest } from "@starling/api";
import { resolveSecret } from "../client/resolve.ts";
import { removing } from "../removing.ts";

export const remove = removing({
  argument: "<secret...>",
  async find({ client }, reference) {
    const { id } = await resolveSecret(client, reference);
    return () => client.call(Control.methods.removeSecret, RemoveSecretRequest.create({ secretId: id }));
  },
});
