// Proposes the browser's time zone to who has never chosen one.
const field = document.querySelector("[data-unchosen]");
const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone;

if (field && zone) {
    const before = field.value;
    field.value = zone;
    if (field.value !== zone) {
        field.value = before; // a list without it
    } else if (zone !== before) {
        document.querySelector("[data-proposed]")?.removeAttribute("hidden");
    }
}
