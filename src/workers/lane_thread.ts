/** The piscina task: one lane, run on this thread until it is told to stop. */
import { SelvageError } from '../errors.js';
import { Lane } from './lane.js';
import type { LaneFault, LaneTask } from './lane_task.js';

/** @returns undefined when it was told to stop, or why it cannot go on */
export default function runLane(task: LaneTask): LaneFault | undefined {
  const lane = new Lane(task);
  try {
    lane.run();
    return undefined;
  } catch (error) {
    if (error instanceof SelvageError) return { code: error.code, message: error.message };
    throw error;
  } finally {
    lane.detach();
    task.tables.close();
  }
}
