/** One token is a thousand of these, so that a refill of a few milliseconds keeps its fraction in an integer. */
const MILLI = 1000;

/**
 * A rate limit: `perSecond` on average, `depth` at once. With whole numbers it computes in integers and allocates nothing; with
 * a rate that is a fraction, as of what a log may say, the balance is a fraction as well: not for the hot path.
 *
 * One thread's own; nothing is shared.
 */
export class TokenBucket {
  private readonly perSecond: number;
  private readonly depthMilli: number;
  private milliTokens: number;
  private filledMillis: number;

  /**
   * The bucket starts full.
   *
   * @param perSecond 0..1,000,000 tokens a second, whole on the hot path; 0 never refills
   * @param depth 0..1,000,000 tokens, whole
   * @param nowMillis the clock as {@link tryTake} will be given it
   */
  constructor(perSecond: number, depth: number, nowMillis = 0) {
    this.perSecond = perSecond;
    this.depthMilli = depth * MILLI;
    this.milliTokens = this.depthMilli;
    this.filledMillis = nowMillis | 0;
  }

  /**
   * Takes one token if there is one.
   *
   * @param nowMillis int32 milliseconds of a monotonic clock, which may wrap around; a step back refills nothing
   */
  tryTake(nowMillis: number): boolean {
    this.refill(nowMillis | 0);
    if (this.milliTokens < MILLI) return false;
    this.milliTokens -= MILLI;
    return true;
  }

  /** A rate of n per second is n thousandths of a token each millisecond. */
  private refill(nowMillis: number): void {
    const elapsed = (nowMillis - this.filledMillis) | 0;
    if (elapsed === 0) return;
    this.filledMillis = nowMillis;
    if (elapsed < 0) return;
    const room = this.depthMilli - this.milliTokens;
    const gained = elapsed * this.perSecond; // below 2^51
    this.milliTokens += gained < room ? gained : room;
  }
}
