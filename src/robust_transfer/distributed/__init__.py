"""The one door to several processes (torch.distributed): devices, launch or join, collectives."""
