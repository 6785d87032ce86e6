export { createNetworkStateHandlers, type NetworkStateOptions } from "./handlers.ts";
