/** The piscina task: one lane, run on this thread until it is told to stop. */
import { Lane } from './lane.js';
import type { LaneTask } from './lane_task.js';

export default function runLane(task: LaneTask): void {
  const lane = new Lane(task);
  try {
    lane.run();
  } finally {
    lane.detach();
    task.tables.close();
  }
}
