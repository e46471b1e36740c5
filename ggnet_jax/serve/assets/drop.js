// Runs once in the drop zone: `element` is its root; `upload` and `trigger` come from Gradio.
const zone = element.querySelector('.drop');
const input = zone.querySelector('input');

document.querySelector('#say')?.setAttribute('aria-live', 'polite');

async function send(file) {
  if (!file || zone.classList.contains('busy')) return;
  if (file.size > Number(zone.dataset.maxBytes)) {
    trigger('refused', { name: file.name, size: file.size });
    return;
  }
  zone.classList.add('busy');
  try {
    const { path } = await upload(file);
    trigger('photo', { path, name: file.name });
  } catch (error) {
    trigger('refused', { name: file.name, size: -1 });
  } finally {
    zone.classList.remove('busy');
    input.value = '';
  }
}

input.addEventListener('change', () => send(input.files[0]));
// A photo may be dropped anywhere: else the browser would leave the page to show it.
document.addEventListener('dragover', (event) => {
  event.preventDefault();
  zone.classList.add('over');
});
document.addEventListener('dragleave', (event) => {
  if (!event.relatedTarget) zone.classList.remove('over');
});
document.addEventListener('drop', (event) => {
  event.preventDefault();
  zone.classList.remove('over');
  send(event.dataTransfer.files[0]);
});
document.addEventListener('paste', (event) => send(event.clipboardData.files[0]));
