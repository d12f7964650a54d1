"""How `unet_lab.data.scenes` draws its streets."""
