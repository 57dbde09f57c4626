import type { AgentView } from './agent_view.js';

declare module './agent.js' {
  interface Agent {
    /** What status, health and metrics are made from, at this moment. */
    view(): AgentView;
  }
}
