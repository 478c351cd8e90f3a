/**
 * Where the numbers of a round of deliveries begin. A notification that is delivered again after it had
 * failed for good has all of its tries again, but its fencing token never gets smaller: the new round begins
 * at the next multiple of this.
 */
export const ROUND = 100_000;

/** Which try of its round a delivery is; 1 for the first. */
export const tryOf = (deliveryNumber: number): number => deliveryNumber % ROUND;
