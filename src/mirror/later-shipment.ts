import type { RootShipment } from './roots.ts';

/** Whether what is shown came with a later shipment of the same sender than what is to be shown: then it stays. What was collected has no shipment, and counts at once. */
export function isLaterShipment(current: RootShipment | undefined, next: RootShipment | undefined): boolean {
  if (current === undefined || next === undefined) return false;
  return current.sender === next.sender && current.site === next.site && current.sequence > next.sequence;
}
