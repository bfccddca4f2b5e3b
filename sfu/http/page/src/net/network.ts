// When this device came to another network, as far as its browser tells.

interface NetworkInformation extends EventTarget {
  readonly type?: string;
}

export function onNetworkChange(changed: () => void): void {
  addEventListener("online", changed);
  const { connection } = navigator as { connection?: NetworkInformation };
  let before = connection?.type;
  // It speaks of the network's speed, too, and often.
  connection?.addEventListener("change", () => {
    const { type } = connection;
    if (type === before) return;
    before = type;
    if (type !== "none") changed();
  });
}
