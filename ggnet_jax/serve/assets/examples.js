element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) trigger('example', { index: Number(button.dataset.index) });
});
