import { Control, RemoveTaskRequest } from "@starling/api";
import { resolveTask } from "../client/resolve.ts";
import { removing } from "../removing.ts";

export const remove = removing({
  argument: "<task...>",
  async remove({ client }, reference) {
    const { id } = await resolveTask(client, reference);
    await client.call(Control.methods.removeTask, RemoveTaskRequest.create({ taskId: id }));
  },
});
