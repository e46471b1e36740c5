// Runs once in the table: a row is chosen by its radio button or by a click anywhere in it.
element.addEventListener('change', (event) => {
  if (event.target.type === 'radio') trigger('choose', { row: Number(event.target.value) });
});
element.addEventListener('click', (event) => {
  const row = event.target.closest('tbody tr');
  if (row && !event.target.closest('label')) row.querySelector('input').click();
});
// A button that was used once no longer follows its attribute.
watch('value', () => {
  const chosen = element.querySelector('input[checked]');
  if (!chosen) return;
  chosen.checked = true;
  const [rows, row] = [chosen.closest('.rows'), chosen.closest('tr')];
  const below = row.offsetTop + row.offsetHeight - rows.clientHeight;
  if (below > 0) rows.scrollTop = below + rows.clientHeight / 2;
});
