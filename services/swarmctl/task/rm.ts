import { Control, RemoveTaskRequest } from "@starling/api";
import { resolveTask } from "../client/resolve.ts";
import { removing } from "../removing.ts";

export const remove = removing({
  argument: "<task...>",
  async find({ client }, reference) {
    const { id } = await resolveTask(client, reference);
    return () => client.call(Control.methods.removeTask, RemoveTaskRequest.create({ taskId: id }));
  },
});
