import { Control, RemoveServiceRequest } from "@starling/api";
import { resolveService } from "../client/resolve.ts";
import { removing } from "../removing.ts";

export const remove = removing({
  argument: "<service...>",
  async find({ client }, reference) {
    const { id } = await resolveService(client, reference);
    return () => client.call(Control.methods.removeService, RemoveServiceRequest.create({ serviceId: id }));
  },
});
