/**
 * The delivery numbers of each round of deliveries begin at a multiple of this. `redeliver` begins a new round for
 * a notification that failed for good: the notification has all of its tries again. The new round begins at the
 * next multiple, so that the fencing token never gets smaller.
 */
export const ROUND = 100_000;

/** The number of a delivery's try in its round; 1 for the first try. */
export const tryOf = (deliveryNumber: number): number => deliveryNumber % ROUND;
