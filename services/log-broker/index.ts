export { createLogBroker, type LogBrokerOptions, type LogBrokerServer } from "./broker.ts";
